"""The categories of connections that clients know, in the service's spelling, each with its group.

https://learn.microsoft.com/rest/api/azureml/workspace-connections/create
"""

from __future__ import annotations

_GROUPS = {
    "Azure": (
        "AzureBlob AzureStorageAccount AzureOneLake AzureDataExplorer AzureTableStorage AzureKeyVault"
        " AzureContainerAppEnvironment ADLSGen2 AppInsights AppConfig CosmosDb CosmosDbMongoDbApi AzureMariaDb"
        " AzureDatabricksDeltaLake AzureSqlMi AzureSqlDb AzureSynapseAnalytics AzureMySqlDb AzurePostgresDb"
        " ApiManagement PowerPlatformEnvironment MicrosoftFabric Sharepoint"
    ),
    "AzureAI": (
        "AzureOpenAI AIServices CognitiveSearch CognitiveService OpenAI Serp BingLLMSearch Serverless"
        " ManagedOnlineEndpoint ModelGateway GroundingWithBingSearch GroundingWithCustomSearch RemoteTool"
        " RemoteA2A ApiKey FeatureStore"
    ),
    "Database": (
        "AmazonRdsForOracle AmazonRdsForSqlServer AmazonRedshift Db2 Drill GoogleBigQuery Greenplum Hbase"
        " Hive Impala Informix MariaDb MicrosoftAccess MySql Netezza Oracle Phoenix PostgreSql Presto"
        " SapOpenHub SapBw SapHana SapTable Snowflake Spark SqlServer Sybase Teradata Vertica Redis Pinecone"
        " Qdrant Databricks Elasticsearch"
    ),
    "NoSQL": ("Cassandra Couchbase MongoDbV2 MongoDbAtlas"),
    "File": ("S3 AmazonS3Compatible FileServer FtpServer GoogleCloudStorage Hdfs OracleCloudStorage Sftp"),
    "GenericProtocol": (
        "GenericHttp ODataRest Odbc GenericRest CustomKeys PythonFeed ContainerRegistry GenericContainerRegistry Git"
    ),
    "ServicesAndApps": (
        "AmazonMws Concur Dynamics DynamicsAx DynamicsCrm GoogleAdWords Hubspot Jira Magento Marketo"
        " Office365 Eloqua Responsys OracleServiceCloud PayPal QuickBooks Salesforce SalesforceServiceCloud"
        " SalesforceMarketingCloud SapCloudForCustomer SapEcc ServiceNow SharePointOnlineList Shopify Square"
        " WebTable Xero Zoho"
    ),
}
CATEGORIES = {name: group for group, names in _GROUPS.items() for name in names.split()}
DATA_CATEGORIES = frozenset({"AzureBlob", "ADLSGen2", "AzureOneLake"})  # left out of a list unless asked for
WITHOUT_TARGET = frozenset({"OpenAI", "Serp", "CustomKeys"})
